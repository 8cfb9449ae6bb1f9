-- conversation: the messages that are kept of a conversation, and of single turns.
-- args: key, the only episode that may be read or '', the last turn or '', then the single turns
-- Returns what is kept of the conversation's turns from the last to the first, false if any is missing; then what is kept of
-- each single turn, false if nothing is; then what is known of the conversation, and the turn at which it leaves this shard. Other keys' turns, damaged values and what exceeds MOST_BYTES count as missing.
-- needs: keys
local owner, only, last = unpack(args, 1, 3)
local MOST_TURNS, MOST_BYTES = 10000, 16777216 -- of all that one call reads
local num_bytes = 0

-- The turn that this one continues, or '', and the messages that it adds.
local function kept(turn)
  local id = call('HGET', key('turns'), turn)
  if not id or (only ~= '' and id ~= only) or call('HGET', episode_key(id), 'key') ~= owner then return end
  local value = call('HGET', episode_key(id, '.messages'), turn)
  local at = value and string.find(value, '\n', 1, true)
  if not at then return end
  num_bytes = num_bytes + #value
  if num_bytes > MOST_BYTES then return end
  return string.sub(value, 1, at - 1), string.sub(value, at + 1)
end

local function conversation()
  local found, turn = {}, last
  while turn ~= '' do
    local previous, messages = kept(turn)
    if not previous then return false, found, turn end
    if #found == MOST_TURNS then return false end
    table.insert(found, messages)
    turn = previous
  end
  return found, found, ''
end

local found, known, left = conversation()
local single = {}
for index = 4, #args do
  local _, messages = kept(args[index])
  table.insert(single, messages or false)
end
return {found, single, known or {}, left or ''}
