"""pip install feedhandler cython setuptools; python setup.py build_ext --inplace; python -c 'import imbalance'"""

from Cython.Build import cythonize
from setuptools import Extension, setup

import feedhandler

include = feedhandler.get_include()
strategy = Extension("imbalance", ["imbalance.pyx"], include_dirs=include)
setup(name="imbalance", ext_modules=cythonize([strategy], include_path=include, language_level=3))
