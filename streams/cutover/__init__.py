"""The go-live: what would stand in its way, the freeze that ends in GO or NO-GO, and what holds after it.

`pipeline`, `users`, `freeze`, `domain` and `first_day` are the checks of `cutover check`, of the type that
`streams.doctor` has (pure).

    gate         each reason of a NO-GO, and what is waited for                                 (pure)
    held         who is not at cidaas as in the database, and who has signed that off           (pure)
    freezing     one freeze, step by step
    certificate  the signed record of a GO; `paper` has it in words                             (pure)
    record       the state of the go-live in the control topic
    after        who is changed after the GO
    asking       asks for the facts that nothing else of the pipeline asks for; writes the marker
"""
