"""What is in the legacy tables, and what will become of it at cidaas: the command `census`.

`streams.source.everyone` brings rows, `counting` turns them into a `Census`, `forecast` says what follows, `words` and
`report` put it into words, and `page` makes a page of those. Nothing here shows a value of a user: counts, and ids as
examples.
"""
