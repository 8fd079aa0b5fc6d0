"""Start the workers, servers and scheduler of a run on one machine or several, and watch them.

This room holds host files, addresses, the command lines of each launcher, the watcher beside every
process, and the program of the servers. How workers share gradients is in engines/.
"""
