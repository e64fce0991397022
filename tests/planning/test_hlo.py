"""What a compiled program moves, read from lines written by hand in XLA's ways of writing."""

import pytest

from vidregen_jax.planning import hlo

pytestmark = pytest.mark.optimized

PROGRAM = '''HloModule jit_step, is_scheduled=true

FileNames
1 "/a/vidregen_jax/models/generator.py"
2 "/a/vidregen_jax/models/layers.py"

FunctionNames
1 "Layer.project"
2 "Linear.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1 end_line=1 column=1 end_column=1}
2 {file_name_id=2 function_name_id=2 line=2 end_line=2 column=2 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%begun (part: bf16[128,64]) -> (bf16[128,64], bf16[128,256]) {
  %part = bf16[128,64]{1,0:T(8,128)(2,1)} parameter(0)
  %inside.1 = bf16[128,256]{1,0:T(8,128)(2,1)} all-gather(%part), channel_id=7, replica_groups=mesh['axis_0'=2,'axis_1'=4], device_ids=(0,2,1,3,4,6,5,7) {'axis_1'}, dimensions={1}, metadata={op_name="jit(step)/jvp()/while/body/dot_general" stack_frame_id=2}
  ROOT %start = (bf16[128,64]{1,0}, bf16[128,256]{1,0}) custom-call(%inside.1), custom_call_target="AsyncCollectiveStart"
}

%ended (part.1: bf16[128,64]) -> bf16[128,256] {
  %part.1 = bf16[128,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %inside.2 = bf16[128,256]{1,0:T(8,128)(2,1)} all-gather(%part.1), channel_id=7, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={1}
}

%taken (stack: f32[6,32,128], at: s32[]) -> f32[32,128] {
  %stack = f32[6,32,128]{2,1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = f32[1,32,128]{2,1,0} dynamic-slice(%stack, %at, %zero, %zero), dynamic_slice_sizes={1,32,128}
  ROOT %flat = f32[32,128]{1,0} bitcast(%slice)
}

%within (stack.1: f32[6,32,128], at.1: s32[]) -> f32[32,128] {
  %stack.1 = f32[6,32,128]{2,1,0} parameter(0)
  %at.1 = s32[] parameter(1)
  ROOT %nested = f32[32,128]{1,0} fusion(%stack.1, %at.1), kind=kLoop, calls=%taken
}

%all-reduce-scatter.1 (input: f32[32]) -> f32[8] {
  %input = f32[32]{0} parameter(0)
  %total = f32[32]{0} all-reduce(%input), channel_id=15, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %first = s32[] constant(0)
  ROOT %share = f32[8]{0} dynamic-slice(%total, %first), dynamic_slice_sizes={8}
}

%condition (c: (s32[], f32[6,32,128], bf16[128,64])) -> pred[] {
  %c = (s32[]{:T(128)}, f32[6,32,128]{2,1,0}, bf16[128,64]{1,0}) parameter(0)
  %turn.1 = s32[]{:T(128)} get-tuple-element(%c), index=0
  %end = s32[]{:T(128)} constant(6)
  ROOT %less = pred[]{:T(512)} compare(%turn.1, %end), direction=LT
}

%body (b: (s32[], f32[6,32,128], bf16[128,64])) -> (s32[], f32[6,32,128], bf16[128,64]) {
  %b.1 = (s32[]{:T(128)}, f32[6,32,128]{2,1,0}, bf16[128,64]{1,0}) parameter(0)
  %turn = s32[]{:T(128)} get-tuple-element(%b.1), index=0
  %many = f32[6,32,128]{2,1,0} get-tuple-element(%b.1), index=1
  %own = bf16[128,64]{1,0} get-tuple-element(%b.1), index=2
  %one = f32[32,128]{1,0:T(8,128)} fusion(%many, %turn), kind=kLoop, calls=%within, backend_config={"estimated_cycles":"700","is_mask":false}
  %going = (bf16[128,64]{1,0:S(1)}, bf16[128,256]{1,0:S(1)}) fusion(%own), kind=kCustom, calls=%begun
  %gone = bf16[128,256]{1,0:S(1)} fusion(%own), kind=kCustom, calls=%ended
  ROOT %next = (s32[]{:T(128)}, f32[6,32,128]{2,1,0}, bf16[128,64]{1,0}) tuple(%turn, %many, %own)
}

ENTRY %main (p: f32[6,32,128], w: bf16[128,64]) -> f32[32] {
  %p = f32[6,32,128]{2,1,0} parameter(0)
  %w = bf16[128,64]{1,0} parameter(1)
  %none = s32[] constant(0)
  %loop.1 = (s32[]{:T(128)}, f32[6,32,128]{2,1,0}, bf16[128,64]{1,0}) tuple(%none, %p, %w)
  %loop = (s32[]{:T(128)}, f32[6,32,128]{2,1,0}, bf16[128,64]{1,0}) while(%loop.1), condition=%condition, body=%body
  %gradient = f32[256]{0} custom-call(%p), custom_call_target="tpu_custom_call"
  %scattered = f32[32]{0} reduce-scatter(%gradient), channel_id=9, replica_groups=[1,8]<=[8], dimensions={0}, to_apply=%add, metadata={op_name="jit(step)/transpose(jvp())/dot_general" stack_frame_id=1}
  %begin = (f32[32]{0}, f32[64]{0}) all-gather-start(%scattered), channel_id=11, replica_groups={{0,1},{2,3}}, dimensions={0}
  %end.1 = f32[64]{0} all-gather-done(%begin)
  %summed = f32[8]{0} fusion(%scattered), kind=kCustom, calls=%all-reduce-scatter.1, metadata={op_name="jit(step)/transpose(jvp())/dot_general" stack_frame_id=1}
  %again = f32[8]{0} fusion(%scattered), kind=kCustom, calls=%all-reduce-scatter.1, metadata={op_name="jit(step)/transpose(jvp())/dot_general" stack_frame_id=1}
  %lone = f32[32]{0} all-reduce(%scattered), channel_id=12, replica_groups={{0},{1}}, to_apply=%add
  %sent = f32[128,16]{1,0} collective-permute(%scattered), channel_id=13, source_target_pairs={{0,1},{1,0}}
  ROOT %out = f32[32]{0} add(%sent, %lone), backend_config={"estimated_cycles":"11"}
}
'''  # noqa: E501 (lines as XLA writes them)


def test_collectives_are_counted_once_a_turn_with_their_group_and_their_function():
  found = {x.kind + x.type: x for x in hlo.collectives(hlo.parse(PROGRAM))}
  # Of one device alone, a group says nothing to anyone.
  assert set(found) == {'all-gatherbf16[128,256]', 'reduce-scatterf32[32]', 'all-gatherf32[64]',
                        'collective-permutef32[128,16]', 'reduce-scatterf32[8]'}
  gather = found['all-gatherbf16[128,256]']
  assert (gather.bytes, gather.group, gather.runs) == (2 * 128 * 256, 4, 6)
  assert (gather.function, gather.backward) == ('generator.Layer.project', False)
  assert gather.received == 6 * 2 * 128 * 256 * 3 / 4
  scatter = found['reduce-scatterf32[32]']
  assert (scatter.bytes, scatter.group, scatter.backward) == (128, 8, True)
  assert scatter.received == 7 * 128  # of a whole of 8 parts, all but its own come from others
  assert found['all-gatherf32[64]'].group == 2
  summed = found['reduce-scatterf32[8]']  # a sum of which each keeps its part
  assert (summed.group, summed.function, summed.received) == (4, 'generator.Layer.project', 3 * 32)


def test_sums_on_one_channel_are_each_counted():
  kept = [x for x in hlo.collectives(hlo.parse(PROGRAM)) if x.type == 'f32[8]']
  assert len(kept) == 2


def test_what_a_collective_carries_is_told_by_its_sides():
  kernels = {(128, 256)}
  told = {x.type: hlo.purpose(x, kernels) for x in hlo.collectives(hlo.parse(PROGRAM))}
  assert told == {'bf16[128,256]': 'weights', 'f32[32]': 'gradients', 'f32[64]': 'activations',
                  'f32[128,16]': 'weights', 'f32[8]': 'gradients'}


@pytest.mark.parametrize('known', ['', ', backend_config={"known_trip_count":{"n":"5"}}'])
def test_memory_is_read_a_slice_a_turn_and_not_where_it_stays_on_the_chip(known):
  program = PROGRAM.replace('body=%body', f'body=%body{known}')
  turns = 5 if known else 6
  part, slice_ = 2 * 128 * 64, 4 * 32 * 128
  turn = 2 * slice_ + 4 + 2 * part  # the slice read and written; the counter; `own` read twice
  kernel, rest = 4 * 6 * 32 * 128 + 4 * 256, 20_000
  found = hlo.traffic(hlo.parse(program))
  assert turns * turn + kernel < found < turns * turn + kernel + rest


def test_cycles_are_told_by_scope_function_and_pass():
  scopes = {'jit(step)/jvp(encoder)/while/body/closed_call/stage_0/block/conv': ('forward', 1),
            'jit(step)/transpose(jvp(encoder))/stage_0/block/checkpoint/rematted_computation/mul':
              ('again', 1),
            'jit(step)/transpose(jvp(encoder))/stage_0/block/jit(silu)/mul': ('backward', 2)}
  lines = ''.join(
    f'  %own.{i} = f32[8]{{0}} add(%p), metadata={{op_name="{name}" stack_frame_id=2}}, '
    f'backend_config={{"estimated_cycles":"{100 * times}"}}\n'
    for i, (name, (_, times)) in enumerate(scopes.items()))
  program = PROGRAM.replace('  ROOT %out =', lines + '  ROOT %out =')
  rows = hlo.cycles_by_stage(hlo.parse(program))
  assert {(row['pass'], row['cycles']) for row in rows if row['stage'] == 'encoder/stage_0/block'} \
    == {('forward', 100), ('again', 100), ('backward', 200)}
  assert {row['function'] for row in rows} == {
    'generator.Layer.project', 'no name: fusion', 'no name: add'}
  assert [row['cycles'] for row in rows] == [4200, 200, 100, 100, 11]


def test_cycles_are_counted_as_often_as_a_loop_turns():
  assert hlo.cycles(hlo.parse(PROGRAM)) == 6 * 700 + 11
