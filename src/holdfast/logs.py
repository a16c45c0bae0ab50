from holdfast._logfile import FileHandler
