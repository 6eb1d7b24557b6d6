"""`rehearse`: the whole run into a stand-in of cidaas, beside the live pipeline and without disturbing it."""
