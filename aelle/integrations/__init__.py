"""aelle in other people's scripts: what their tools call, each in the module of that tool's name."""
