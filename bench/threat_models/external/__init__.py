"""Attacks of other libraries, each behind an adapter: `foolbox:ATTACK`, `torchattacks:ATTACK`, `adv-lib:ATTACK`."""
