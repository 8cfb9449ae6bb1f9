-- resume_training: allow claims again and wake the trainer. No args.
-- needs: keys, group
call('HSET', key('training'), 'paused', 0)
keep_copy('training')
wake_trainer()
return 1
