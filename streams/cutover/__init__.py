"""What `cutover check` knows: everything that would stand in the way of the go-live, were it tonight.

Its checks are those of `streams.doctor`, and more of the same type. `pipeline`, `users`, `freeze`, `domain` and
`first_day` turn facts into them (pure); `asking` asks for the facts that nothing else of the pipeline asks for.
"""
