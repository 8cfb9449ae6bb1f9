"""What passes between the acting policy and the learner: episodes, their store and ledger, engines and the pool.

Loads no torch: both the gateway and the trainer import this package.
"""
