"""Deciding: which mechanism, with which parameters, meets what is required, why, and how sure that is.

`advice` answers the question and `cli` puts it on the command line. `requirement` says what is asked,
`offers` what a provider has, `tuning` and `remedies` look for parameters, `evaluation` runs them, `pareto`
and `ranking` order what meets it, `sensitivity` asks which assumption would change the answer, `reasons` says
all this in sentences with the figures behind them. `cost` and `prices` tell what it comes to.
"""
