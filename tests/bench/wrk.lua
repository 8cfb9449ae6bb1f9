-- Sends the requests of the file that its argument names, in turn; prints the totals as one line of JSON.
-- Each request in the file follows a line with its length in bytes.

local requests, place = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for length in file:lines() do
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
end

function request()
  place = place % #requests + 1
  return requests[place]
end

function done(summary, latency)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests": %d, "failures": %d, "wall_seconds": %.6f, "p50_seconds": %.6f, "p99_seconds": %.6f}\n',
    summary.requests, failures, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6
  ))
end
