"""What each study says of its network, for others.

Every function has the arguments (network, config, finished): what the study makes its
network with, the options of the run, and the run.
"""
