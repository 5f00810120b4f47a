// What is wider than its page can be scrolled by keyboard, too: a table or a drawing that does not fit takes the focus.
const reach = new ResizeObserver((seen) => {
  for (const { target } of seen) {
    target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
    target.role = "region";
    target.ariaLabel ||= "wider than the page: scroll sideways";
  }
});
const find = () => {
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, figure.drawing")) reach.observe(wide);
};
new MutationObserver(find).observe(document.querySelector(".md-content"), { childList: true, subtree: true });
find();
