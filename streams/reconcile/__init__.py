"""Compares, while everything moves, the legacy tables, the snapshots, the ledger and cidaas, user by user.

Nothing secret leaves memory: rows are compared by keyed fingerprints, users at cidaas by one of each field.

    cases       the one vocabulary                         (pure)
    marks       fingerprints of rows                       (pure)
    traits      fingerprints of what cidaas stores as given (pure)
    suspects    when a difference is one, and not late     (pure)
    tables      both changelogs, read and followed
    source      the legacy tables
    passing     whether the pipeline is past a moment
    target      cidaas, read slowly
    readback    the users at cidaas against the ledger
    run         all of it in its order
    repair      what puts each difference right            (pure)
    report      the result in words                        (pure)
    last        what is kept of a run                      (pure)
"""
