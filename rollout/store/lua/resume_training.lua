-- resume_training: allow claims again and wake the trainer. No args.
-- needs: keys, group
call('HSET', key('training'), 'paused', 0)
wake_trainer()
return 1
