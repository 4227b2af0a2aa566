"""Physics of N environments on one model: controller, threads, pictures, snapshots, success.

Import from the modules. The package itself loads nothing, so that whoever reads a `Snapshot` needs no simulator.
"""
