"""Says which packages there are: the folders of ufnrec_tf, and configs/ within it."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["ufnrec_tf", "ufnrec_tf.*"]), "ufnrec_tf.configs"])
