"""What flies: types, engines, policies, scheduler and recordings. Imports nothing else of ours."""
