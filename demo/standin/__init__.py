"""A stand-in of cidaas: a real HTTP server with the endpoints that the pipeline calls, and the checks it documents.

Start it with `python -m demo.standin --port 8070 --data FILE`. It keeps its users in memory (an entity is one JSON
text, so half a million of them fit) and writes each accepted state to FILE before it answers: stopping it, `kill -9`
too, forgets nothing.

What cidaas does not document is a *switch* (`switches.py`), the default being the likeliest answer. What goes wrong in
a network is a scripted *fault* (`faults.py`). Everything under `/_test/` exists only here: dump, history, counters,
login, switches, faults. A request walks this way:

    server.py     HTTP, faults, counting      endpoints.py, reads.py, testing.py     the answers
    checks.py     is this user acceptable?    bulk.py                                which state does it get?
    users.py      users, indexes, history     journal.py                             the file behind them

README.md in this folder lists switches, faults and formats.
"""
