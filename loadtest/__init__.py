"""hookbench's measurements: real servers under real load, judged by the same metrics as the models."""
