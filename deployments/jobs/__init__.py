"""The durable job store: jobs, their images, the outbox of mails, files. No Ray.

`store.JobStore` is the entrance. What it promises:

- A call that returned is on disk (SQLite: WAL with synchronous=FULL; PostgreSQL:
  synchronous_commit=on), and the files that its rows name were on disk before.
- Each method is one transaction.
- Work is leased, never removed: a process that dies leaves leases that expire.
- Each claim gets a fencing token; an answer under an older token changes nothing.
"""
