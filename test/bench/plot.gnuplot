# How many times as long as the floor a call takes, by size and contestant. Variable: `bars`, a file
# with tabs: direction, place of the size, place of the bar, ratio, size.
set terminal svg size 1200,900 font 'sans-serif,13' background 'white'
set datafile separator '\t'
set multiplot layout 2,1
set logscale y
set yrange [0.01:20000]
set xrange [0.5:4.5]
set boxwidth 0.085
set style fill solid 0.85 noborder
set ytics ('0.01' 0.01, '0.1' 0.1, '1' 1, '10' 10, '100' 100, '1000' 1000, '10 000' 10000)
set xtics ('32 B' 1, '1 KiB' 2, '64 KiB' 3, '1 MiB' 4) scale 0
set grid ytics lc rgb '#dddddd'
set ylabel 'times the floor (log scale)'
set key outside right center samplen 1.5 spacing 1.3

array names[9] = ['read', 'local', 'local array', 'local window', 'pgcrypto iv', 'remote array', \
    'remote window', 'remote', 'pgcrypto pgp']
array colour[9] = ['#bbbbbb', '#1b5e20', '#43a047', '#a5d6a7', '#f9a825', '#0d47a1', '#42a5f5', \
    '#5e35b1', '#c62828']
place(size, bar) = size + (bar - 5) * 0.095
shown(direction, bar) = strcol(1) eq direction && $3 == bar ? $4 : NaN
figure(ratio) = sprintf(ratio < 10 ? '%.2f' : '%.0f', ratio)

do for [direction in 'encode decode'] {
    set title direction.': time of a call, against a C function that does AES-256-GCM and nothing else'
    plot for [bar = 1:9] bars using (place($2, $3)):(shown(direction, bar)) with boxes lc rgb colour[bar] \
            title names[bar], \
        for [bar = 1:9] '' using (place($2, $3)):(shown(direction, bar)):(figure($4)) with labels \
            rotate left font ',10' offset 0,0.4 notitle, \
        1 with lines lc rgb 'black' dt 2 notitle
}
