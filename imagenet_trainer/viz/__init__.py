"""Pictures and pages: arrays in, PNG, GIF, SVG, video and HTML out.

Nothing here reads a run, runs inference or depends on the command line. Templates, style
sheets and the script of the pages are in assets/.
"""
