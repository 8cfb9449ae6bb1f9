-- check_rewards: what `rewards` would refuse, which is recorded elsewhere in the same call. args: as rewards.lua
-- needs: keys, open_episodes, alarm, places, episode, group, running, sealing, rewarding, reward_checks
return refusal_of_any() or 1
