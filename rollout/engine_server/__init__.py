"""The entry of the engine process; each kind of engine has its server in its own folder, `rollout/engine/<kind>/server/`."""
