"""The PACS node: T1 series come in by DICOM's network protocol, synthetic PETs go back.

`settings` reads NODE.json, `spool` the folder that the node lives in, `database` and the three
files over it (`arrivals`, `jobs`, `deliveries`) the queue, `gate` and `reception` what comes in,
`archive` and `delivery` what goes out, `receiver` and `worker` the two processes, `node` their
parent, `health` its page, `privacy` what may be told of a patient: nothing.

Nothing here imports torch; `worker` does when its process starts.
"""
