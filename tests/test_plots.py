from regenhance_data.plots import new_plot, save_figure


def test_the_same_figure_makes_the_same_files(tmp_path):
    for name in ("a", "b"):
        figure, axes = new_plot((3, 2), "budget", "F1")
        axes.plot([0, 1], [0, 1], label="a line")
        axes.fill_between([0, 1], [0, 0], [1, 1])
        axes.legend()
        save_figure(figure, tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert "<dc:date>" not in (tmp_path / "a.svg").read_text()


def test_dots_in_the_name_of_a_plot_are_kept(tmp_path):
    figure, _ = new_plot((2, 2), "x", "y")
    for name in ("cam.1", "cam.2"):
        save_figure(figure, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam.1.png", "cam.1.svg", "cam.2.png", "cam.2.svg"]
