"""The lab: real servers, fakes, a simulated platform, and what is made of them: soak, siege and benchmarks."""
