"""What shows the pipeline at work: the example legacy database, the cidaas stand-in and the embedded stack."""
