"""What `doctor` knows: every precondition of the pipeline as a named check, judged apart from the asking.

`checks` says what a check is. `asking` asks one place each, within a time limit. `server`, `roles`, `tables`, `kafka`,
`connect`, `consistency` and `cidaas` turn the facts of one place into its checks (pure). `places` asks several at the
same time, and `examination` says which.
"""
