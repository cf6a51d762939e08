"""Notifications by email: settings, messages, one send, and the loop that empties the outbox.

    settings ─▶ address           who may receive mail
    notifications ─▶ content ─▶ message     what a mail says, and its bytes
    sender ─▶ outcome             one conversation with the SMTP server, and its verdict
    delivery ─▶ backoff, breaker  due mails out of the outbox, retried until they expire

Nothing here imports Ray or knows a database: ``outbox.py`` names the few calls that the
delivery needs of a store.
"""
