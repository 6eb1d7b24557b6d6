"""What `doctor` knows: every precondition of the pipeline as a named check, judged apart from the asking.

    checks        what a check is
    asking/       asks one place each, within a time limit: facts, or why there are none
    server, roles, tables, kafka, connect, consistency, cidaas
                  facts of one place -> its checks (pure)
    examination   asks all places at the same time
"""
