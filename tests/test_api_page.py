"""docs/api.md is what the docstrings say."""

import importlib.util
import inspect
import re

import pytest
from conftest import ROOT

import vidregen_jax


@pytest.fixture(scope='module')
def api():
  spec = importlib.util.spec_from_file_location('api_page', ROOT / '.ci' / 'api.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_page_is_up_to_date(api):
  assert (ROOT / 'docs' / 'api.md').read_text() == api.page(), 'run python .ci/api.py'


def test_every_name_and_each_of_its_arguments_is_there(api):
  page = api.page()
  for name in vidregen_jax.__all__:
    section = re.search(rf'^## {name}\n(.*?)^## ', page, re.MULTILINE | re.DOTALL)[1]
    told = ' '.join(re.findall(r'^\| `(.+?)` \|', section, re.MULTILINE))
    assert set(re.findall(r'\w+', told)) == set(
      inspect.signature(getattr(vidregen_jax, name)).parameters)


def test_every_type_that_a_report_holds_is_explained(api):
  page = api.page()
  named = set(re.findall(r'[A-Z]\w+', ' '.join(
    kind for each in api.PARTS + api.TYPES if each.__name__ != 'UserError'
    for kind in api._annotations(each).values())))
  explained = set(re.findall(r'^###? (\w+)', page, re.MULTILINE))
  assert named - explained <= {'Callable', 'Fraction', 'None', 'Path', 'System'}
