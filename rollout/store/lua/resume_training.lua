-- resume_training: groups may be claimed again, so the trainer should look. No args.
-- needs: keys, group
call('HSET', key('training'), 'paused', 0)
wake_trainer()
return 1
