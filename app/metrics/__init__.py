"""Metrics: responses and a contrast in, scores and p-values out.

One file a metric, with a function `score(responses, contrast, *, option=default) -> Scores`, pure:
of responses (images, units), finite float32 or float64, and the groups of images to compare. Of
each unit it finds a statistic in every contrast, positive where the target responds more, and maybe
a p-value in 0 … 1. Its `score` is what is said of each contrast, whose smallest, or mean, is the
unit's score (`Question.conclude`); or that of the unit itself. What is undefined, such as where
both groups are constant, is NaN and passed over; a unit without any has no score: NaN.
`app.metrics.scoring` asks metrics, and refuses responses that are not finite (InputError). An
option called `device` is given the device that the network runs on. The rules that select units by
their scores are in `app.findings.selection`.
"""

from app.metrics.scores import Question, Scored, Scores, check_options, load, note_signs, smallest

__all__ = ["Question", "Scored", "Scores", "check_options", "load", "note_signs", "smallest"]
