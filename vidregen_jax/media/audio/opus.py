"""The first bytes of Opus packets: their length and mode (RFC 6716, section 3.1)."""

RATE = 48_000  # samples a second, at which Opus is always decoded
SETTLES = 3840  # samples after which a decoder that began in the middle has converged
FRAMES = (120, 240, 480, 960, 1920, 2880)  # samples of the packets that libopus makes
_CELT = 16  # the first configuration of CELT (music); those before are SILK and hybrid (speech)
_SPEECH, _HYBRID, _MUSIC = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)


def samples(packet: bytes) -> int:
  """The duration of a packet in samples; 0 if it is broken."""
  configuration, count = packet[0] >> 3, packet[0] & 3
  if configuration >= _CELT:
    frame = _MUSIC[configuration % 4]
  else:
    frame = _SPEECH[configuration % 4] if configuration < 12 else _HYBRID[configuration % 2]
  if count == 3:
    return frame * (packet[1] & 63) if len(packet) > 1 else 0
  return frame * (1, 2, 2)[count]


def is_celt(packet: bytes) -> bool:
  """Whether a packet is in CELT mode, in which earlier packets are soon forgotten."""
  return packet[0] >> 3 >= _CELT
