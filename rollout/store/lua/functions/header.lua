-- An episode's header, in the order of parse_header in episode_records.py.
local function header(id)
  local values = call('HMGET', episode_key(id),
    'id', 'status', 'kind', 'group', 'task', 'key', 'metadata', 'created', 'sealed', 'settled',
    'turns', 'trainable_turns', 'trainable_tokens', 'output_tokens', 'min_version', 'max_version',
    'rewards', 'outcome', 'truncated', 'reason', 'policy_version', 'history')
  values[1] = id
  return values
end

-- Header, turns, rewards, weights and advantages, as parse_view in redis_decoding.py reads them.
local function view(id)
  return {
    header(id),
    call('LRANGE', episode_key(id, '.turns'), 0, -1),
    call('HGETALL', episode_key(id, '.rewards')),
    call('HGETALL', key('reward_weights')),
    call('GET', episode_key(id, '.advantages')),
  }
end
