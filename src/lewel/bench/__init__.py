"""`lewel bench`: what each part costs, against what anybody would write. All contenders in one run, interleaved."""
