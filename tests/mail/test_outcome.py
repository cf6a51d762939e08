import pytest
from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from deployments.mail.outcome import Cause, Dead, Deferred, Stage, judge_failure, reply_line


@pytest.mark.parametrize("code", [450, 451, 452, 499])
def test_4xx_about_the_mail_defers_it(code):
    outcome = judge_failure(SMTPSenderRefused(code, "no", "s@example.org"), Stage.ENVELOPE)
    assert outcome == Deferred(f"{code} no", Cause.MAIL)


@pytest.mark.parametrize("code", [500, 550, 552, 554, 599])
@pytest.mark.parametrize("stage", [Stage.ENVELOPE, Stage.CONTENT])
def test_5xx_about_the_mail_ends_it_whatever_the_words(code, stage):
    # SpheroSeg read the text, where "timeout" or "memory" made a refusal look temporary.
    error = SMTPResponseException(code, "4.2.1 timeout, try again, out of memory")
    assert isinstance(judge_failure(error, stage), Dead)


@pytest.mark.parametrize("stage", list(Stage))
def test_421_is_about_the_server_at_any_time(stage):
    error = SMTPRecipientRefused(421, "shutting down", "r@example.org")
    assert judge_failure(error, stage) == Deferred("421 shutting down", Cause.SERVER)


@pytest.mark.parametrize("code", [454, 502, 535, 550])
def test_a_refused_session_is_about_the_server_with_any_code(code):
    for error in (SMTPHeloError(code, "no"), SMTPAuthenticationError(code, "no")):
        outcome = judge_failure(error, Stage.ENVELOPE)
        assert isinstance(outcome, Deferred)
        assert outcome.cause is Cause.SERVER
    outcome = judge_failure(SMTPResponseException(code, "no"), Stage.SESSION)
    assert outcome == Deferred(f"{code} no", Cause.SERVER)


def test_the_words_of_a_refused_login_are_not_repeated():
    outcome = judge_failure(
        SMTPAuthenticationError(535, "bad: AHJvYm90AHNlY3JldA=="), Stage.SESSION
    )
    assert "AHJv" not in outcome.reason


@pytest.mark.parametrize(
    ("stage", "cause"),
    [
        (Stage.SESSION, Cause.SERVER),
        (Stage.ENVELOPE, Cause.MAIL),
        (Stage.CONTENT, Cause.UNKNOWN),
    ],
)
@pytest.mark.parametrize(
    "error", [TimeoutError(), ConnectionResetError("reset"), SMTPServerDisconnected("gone")]
)
def test_silence_and_cuts_depend_on_how_far_it_came(error, stage, cause):
    outcome = judge_failure(error, stage)
    assert isinstance(outcome, Deferred)
    assert outcome.cause is cause
    assert type(error).__name__ in outcome.reason


def test_a_reply_without_a_code_after_the_content_is_no_refusal():
    outcome = judge_failure(SMTPDataError(-1, "Malformed"), Stage.CONTENT)
    assert outcome == Deferred("Malformed", Cause.UNKNOWN)


def test_the_server_cannot_forge_lines_of_the_log():
    assert reply_line(250, "ok\r\nERROR forged\x1b[31m") == "250 ok  ERROR forged [31m"
    assert len(reply_line(250, "x" * 5000)) <= 300
    reason = judge_failure(SMTPException("a\nb"), Stage.SESSION).reason
    assert "\n" not in reason
