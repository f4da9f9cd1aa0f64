-- What wrk has measured, as one line of JSON behind the word RESULT. Arguments: method, bytes sent.

function init(args)
    local method, size = args[1] or "GET", tonumber(args[2] or "0")
    wrk.method = method
    if size > 0 then
        wrk.body = string.rep("x", size)
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    local t = {}
    for _, p in ipairs({50, 90, 99, 99.9, 99.99}) do
        t[#t + 1] = string.format('"p%s": %d', p, latency:percentile(p))
    end
    io.write(string.format(
        'RESULT {"requests": %d, "errors": %d, "seconds": %.6f, "latency_us": {%s, "max": %d, "min": %d, "mean": %.1f}}\n',
        summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6,
        table.concat(t, ", "), latency.max, latency.min, latency.mean))
end
