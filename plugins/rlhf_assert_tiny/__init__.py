"""What every backend trains and measures by the same rule, whatever the framework.

`tiny` builds the models and their tokenizer, `task` gives them something to learn, `corruption` breaks their rewards on
purpose. `digest`, `reference` and `weights` make small values by which batches and weights are recognised later.
Importing this package imports no framework.
"""
