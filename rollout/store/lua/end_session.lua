-- end_session: end an episode that a session's key stands for, with a reward of 0 if it has turns and none. args: episode
-- needs: keys, open_episodes, alarm, places, episode, group, running, sealing, rewarding, session_end
end_session(args[1])
return 1
