"""The audit: who ran which command with what effect, and under which configuration each worker started.

`records` is what stands in it, `fingerprint` what is written of a configuration, `topic` where it is kept, `logbook`
what a worker writes. What a command writes is the business of `streams/commands/recording.py`.
"""
