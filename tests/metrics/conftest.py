from hypothesis import settings

settings.register_profile("metrics", deadline=None)  # a shared machine may pause any example
settings.load_profile("metrics")
