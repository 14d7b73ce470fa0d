"""Pages of runs, each in one file that needs no network and no server.

They are made of what the folders of the runs hold, and of nothing else: a run that was
stopped and resumed has the same page as one that was left alone.
"""

from experiments.lab.page.markup import GENERATOR as GENERATOR
from experiments.lab.page.one import of_run as of_run
from experiments.lab.page.several import of_runs as of_runs
from experiments.lab.page.table import of_table as of_table

NAME = "report.html"
