# SPDX-License-Identifier: Apache-2.0
#
# One SVG with both axes logarithmic. Input: series <tab> x <tab> y, in the order in which the series are to be listed.
#
#   awk -f plot.awk -v title='...' -v xname='rules' -v yname='ns' in.tsv > out.svg

function log10(x) { return log(x) / log(10) }
function px(x) { return left + (log10(x) - xlow) / (xhigh - xlow) * width }
function py(y) { return top + height - (log10(y) - ylow) / (yhigh - ylow) * height }
function text(x, y, anchor, words) {
	printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, words
}
function short(v) { return v >= 1000000 ? v / 1000000 "M" : v >= 1000 ? v / 1000 "k" : v "" }

BEGIN {
	FS = "\t"
	left = 64; top = 34; width = 440; height = 260
	split("#1b6ca8 #c8553d #588157 #7a5195 #8d6a1f #444444", colour, " ")
}
$2 > 0 && $3 > 0 {
	if (!($1 in number)) { number[$1] = ++series; name[series] = $1 }
	points[$1] = points[$1] $2 " " $3 "\n"
	xmin = xmin == "" || $2 + 0 < xmin ? $2 + 0 : xmin; xmax = $2 + 0 > xmax ? $2 + 0 : xmax
	ymin = ymin == "" || $3 + 0 < ymin ? $3 + 0 : ymin; ymax = $3 + 0 > ymax ? $3 + 0 : ymax
}
END {
	if (!series) exit 1
	xlow = int(log10(xmin)); xhigh = int(log10(xmax) - 1e-9) + 1
	ylow = int(log10(ymin)); if (log10(ymin) < ylow) ylow--
	yhigh = int(log10(ymax)) + 1
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"700\" height=\"350\" font-family=\"sans-serif\" font-size=\"12\">\n"
	print "<rect width=\"700\" height=\"350\" fill=\"white\"/>"
	printf "<text x=\"%d\" y=\"20\" font-size=\"14\">%s</text>\n", left, title
	for (e = xlow; e <= xhigh; e++) {
		printf "<path d=\"M%.1f %d V%d\" stroke=\"#ddd\"/>\n", px(10 ^ e), top, top + height
		text(px(10 ^ e), top + height + 16, "middle", short(10 ^ e))
	}
	for (e = ylow; e <= yhigh; e++) {
		printf "<path d=\"M%d %.1f H%d\" stroke=\"#ddd\"/>\n", left, py(10 ^ e), left + width
		text(left - 6, py(10 ^ e) + 4, "end", short(10 ^ e))
	}
	text(left + width / 2, top + height + 34, "middle", xname)
	printf "<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", top + height / 2, yname
	for (s = 1; s <= series; s++) {
		n = split(points[name[s]], row, "\n"); d = ""
		for (i = 1; i < n; i++) { split(row[i], v, " "); d = d (i == 1 ? "M" : " L") sprintf("%.1f %.1f", px(v[1]), py(v[2])) }
		printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", d, colour[s]
		for (i = 1; i < n; i++) {
			split(row[i], v, " ")
			printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", px(v[1]), py(v[2]), colour[s]
		}
		printf "<rect x=\"%d\" y=\"%d\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", left + width + 16, top + 20 * s - 9, colour[s]
		text(left + width + 32, top + 20 * s, "start", name[s])
	}
	print "</svg>"
}
