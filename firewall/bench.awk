# Makes the table of docs/bench.md out of what `go test -bench -count N` prints: medians of each benchmark's runs.
/^Benchmark/ {
	name = substr($1, 10)
	sub(/-[0-9]+$/, "", name)
	if (!(name in seen)) { seen[name] = 1; order[++names] = name }
	for (i = 3; i < NF; i += 2) { n = ++count[name, $(i + 1)]; value[name, $(i + 1), n] = $i }
}

function median(name, unit,    n, i, j, t, v) {
	n = count[name, unit]
	if (n == 0) return ""
	for (i = 1; i <= n; i++) v[i] = value[name, unit, i] + 0
	for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function time(ns) {
	if (ns == "" || ns == 0) return "-"
	if (ns < 1e4) return sprintf("%.0f ns", ns)
	return ns < 1e9 ? sprintf("%.1f ms", ns / 1e6) : sprintf("%.2f s", ns / 1e9)
}

BEGIN {
	what["KnownFlow"] = "frame of a known flow"
	what["FirstPacket"] = "first packet of a flow, 256 in turn"
	what["FirstPacketCold"] = "first packet of a flow, 16,384 in turn"
	what["Rules"] = "of that the rules, 256 in turn"
	what["RulesCold"] = "of that the rules, 16,384 in turn"
	what["Compile"] = "compile a policy that was read"
	what["Load"] = "read YAML, and compile"
	what["Lint"] = "lint"
	what["FlowMemory"] = "memory"
}

END {
	print "| what | with | time | processor time | allocations | memory |"
	print "| --- | --- | --- | --- | --- | --- |"
	for (k = 1; k <= names; k++) {
		split(order[k], part, "/")
		sub(/^[a-z]+=/, "", part[2])
		kind = order[k] ~ /flows=/ ? "flows" : "rules"
		memory = median(order[k], "B/flow")
		allocs = median(order[k], "allocs/op")
		printf "| %s | %s %s | %s | %s | %s | %s |\n", what[part[1]], part[2], kind, time(median(order[k], "ns/op")),
			time(median(order[k], "cpu-ns/op")), allocs == "" ? "-" : allocs, memory == "" ? "-" : sprintf("%.1f bytes a flow", memory)
	}
}
