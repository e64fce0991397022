"""Footage into training data: a consent manifest in, clips of speaking faces out.

In the order of the work: `probing` (what is in a file), `speaker` (shots, faces, who speaks),
`sync_offset` and `scorer_curve` (is the sound late, by two judges), `filters` (what is left out),
`cutting` (clips and crops), `source_result` (one folder a source), `talking_faces` (the dataset of
them), `report`; and the programs `build` and `withdrawals`. Shots, faces and mouths are found by
the editor's own rooms.
"""
